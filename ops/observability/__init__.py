"""What watches the platform from outside: metrics, alert rules, the dashboard."""
