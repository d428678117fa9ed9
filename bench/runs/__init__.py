"""From a configuration to its outcome: checked, certified, run by its task, and its record written."""
