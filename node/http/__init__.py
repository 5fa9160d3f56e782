"""HTTP itself: limits, origins, problems, pages. Knows no resource."""
