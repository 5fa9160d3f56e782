"""Many runs: judged, summed up, kept, replayed."""
