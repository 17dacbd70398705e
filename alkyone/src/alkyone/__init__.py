"""The proving ground of Pleiades."""
