"""One module a protocol. Each has

    evaluate(encoder, files, settings) -> Result    suites that read files of their own, `files.Files`
    evaluate(encoder, data, settings) -> Result     in-domain suites, on an `in_domain.InDomain`

and pure scoring functions on arrays beside it. Nothing is downloaded.
"""
