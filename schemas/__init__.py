"""What flows and what people define: models, the topic catalogue, codecs, examples. No I/O."""
