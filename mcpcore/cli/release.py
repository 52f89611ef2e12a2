"""What this release is."""

__all__ = ("version",)


def version() -> str:
    """The version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("mcpcore")
    except PackageNotFoundError:
        return "0+uninstalled"  # a checkout on the path
