"""From a configuration to everything training needs."""
