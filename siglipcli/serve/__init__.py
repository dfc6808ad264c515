"""The HTTP server, over one `Classifier`: what `siglip serve` runs. Needs the extra `serve`.

    settings.py   ServeSettings: every limit, frozen
    errors.py     ApiError, and the one table from library errors to statuses
    engine.py     Engine: what routes call
    references.py base64, data: URIs and URLs → bytes
    body.py       request bodies, bounded and strict
    app.py        create_app(settings, engine) → Starlette
    wire/         one module per wire format; each exports routes(engine, settings) -> list[Route]

How a wire format is added, after `wire/models.py`:

1. `wire/NAME.py` has `routes(engine, settings)`, whose handlers are closures over both. Paths come without
   `/v1`: the app serves every route with and without it. Its `PUBLIC` are the paths that a GET may read
   without a key (pages; nothing of the model).
2. Its name goes into `MODULES` of `wire/__init__.py`. Earlier modules win where paths overlap; a route
   whose methods do not fit is passed over, so GET / and POST / may live in two modules.

What handlers use:

- `await read_json(request, settings)` → the body as a dict, or ApiError; `read_body` for bytes, `read_form`
  for multipart.
- `await engine.read_images(references)` → `bytes | Failure`, one per base64 text, data: URI or URL.
- `await engine.classify(images, label_sets, options)` → `Prediction | Failure`, in order; images are
  `bytes | Failure` (a Failure passes through).
- `await engine.embed_images(images)` → `Vector | Failure` (float32[d], a unit row);
  `await engine.embed_texts(texts)` → float32[n, d].
- `engine.label_set(name)`: the server's own set, or a built-in one; `engine.label_sets`: those that the server
  was started with. Never `LabelSet.load` with a client's words: it reads files.
- `engine.model` names the model, `engine.classifier` is the library's object. All of these raise ApiError
  (503) while the model is loading.
- `raise ApiError(status, message, code="stable_word", param="input")` anywhere; library errors and Failures
  become one by `from_library` and `from_failure`. What else is raised is a 500 without details.

Nothing here is imported unless the command runs.
"""
