# SPDX-License-Identifier: MIT
"""Comparisons of subset with what a user would pick instead; scripts/bench is the way in."""
