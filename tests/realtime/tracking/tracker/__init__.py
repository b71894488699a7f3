"""Tests of nasion.realtime.tracking.tracker."""
