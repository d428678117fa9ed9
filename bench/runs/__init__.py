"""From a configuration to its outcome: check it, wait for the machine, do the job, see that a record stays."""
