"""The proof that a stitched model predicts what its parts predict.

``verify`` holds three things side by side: the parts, run one by one with NumPy in between (``reference``); the
stitched model; and the saved file, loaded by Keras alone in a fresh process (``fresh_process``,
``predict_program``). ``equality`` says what equal means, ``certificate`` what was compared.

The check shares nothing with what it checks: the parts are loaded once more, and merged by NumPy. So it finds
mistakes of building, merging and saving, and none of wiring; the tests compare wiring to an oracle of their own.
Only layers that had no weights, and parts of a trained model where they differ from their source, borrow the
stitched model's weights; the certificate names them.
"""
