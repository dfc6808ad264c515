"""What front ends on a terminal share: Typer's seams, help, signals, progress, notes, exit statuses."""
