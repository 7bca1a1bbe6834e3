"""SEPT itself: neighbours, templates, margins, and the semantic expansion loss."""

from sept_core.semantic.loss import SEPT_HYPER, Hinges, SemanticExpansion, expansion_losses
from sept_core.semantic.margins import MARGIN_MODES, handcrafted_distances, margins
from sept_core.semantic.neighbor_files import load_neighbors
from sept_core.semantic.neighbors import Neighbors, check_neighbors
from sept_core.semantic.new_class_names import NamingNew, knowledge_warnings, naming_untrained, used_neighbors
from sept_core.semantic.templates import fill, load_templates, templates_digest

__all__ = [
    "MARGIN_MODES",
    "SEPT_HYPER",
    "Hinges",
    "NamingNew",
    "Neighbors",
    "SemanticExpansion",
    "check_neighbors",
    "expansion_losses",
    "fill",
    "handcrafted_distances",
    "knowledge_warnings",
    "load_neighbors",
    "load_templates",
    "margins",
    "naming_untrained",
    "templates_digest",
    "used_neighbors",
]
