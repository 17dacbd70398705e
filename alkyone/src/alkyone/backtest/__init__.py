"""The backtest: recorded and generated curves, replayed through a schedule or a detector, against what others do."""
