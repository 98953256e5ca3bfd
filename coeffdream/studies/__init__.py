"""The paper's own experiments, in a form that runs anywhere."""
