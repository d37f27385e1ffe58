"""One module per protocol. Each has

    evaluate(encoder, files, settings) -> Result    for suites that read their own files, `files.Files`
    evaluate(encoder, data, settings) -> Result     for in-domain suites, on an `in_domain.InDomain`

and also pure scoring functions on arrays. Nothing is downloaded.
"""
