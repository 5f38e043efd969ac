"""Long runs that break things while events flow, and count what came of it. Run by `make faults`."""
