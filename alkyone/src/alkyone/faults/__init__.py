"""Random schedules of faults on the real stack, each of which ends with every invariant holding."""
