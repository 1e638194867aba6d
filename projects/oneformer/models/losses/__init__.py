"""From predictions and targets to losses."""
