"""What every test shares: quiet TensorFlow, and how hard Hypothesis tries.

``HYPOTHESIS_PROFILE=thorough`` draws new and many more examples; the default draws the same few each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# Building Keras models is slow and its time varies; a slow example is no defect.
_slow = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
settings.register_profile("default", derandomize=True, deadline=None, max_examples=20, suppress_health_check=_slow)
settings.register_profile("thorough", deadline=None, max_examples=400, suppress_health_check=_slow, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
