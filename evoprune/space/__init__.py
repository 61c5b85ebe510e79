"""Codes: which there are, what they cost, what an importance and a rate make of them. numpy only."""
