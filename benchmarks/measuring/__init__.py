"""What the programs of this folder share: processes under test, slices, drivers, tables."""

__all__ = ()
