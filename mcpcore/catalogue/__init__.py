"""What a server offers: named tools, resources, prompts and completions, their lists, and how each is called."""

from mcpcore.catalogue.catalogue import Catalogue
from mcpcore.catalogue.completion import ServedCompletion
from mcpcore.catalogue.prompt import ServedPrompt
from mcpcore.catalogue.resource import ServedResource, ServedTemplate
from mcpcore.catalogue.tool import ServedTool

__all__ = ("Catalogue", "ServedCompletion", "ServedPrompt", "ServedResource", "ServedTemplate", "ServedTool")
