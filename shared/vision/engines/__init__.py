"""The engines, one module each; `shared.vision.engines.loading.load_engine` imports the one that is asked for."""
