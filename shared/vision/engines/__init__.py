"""The engines, one module each; `shared.vision.engine.load_engine` imports the one that is asked for."""
