"""A module a stage, each a plain async function over a batch of models. No Kafka, no SQL, nothing caught."""
