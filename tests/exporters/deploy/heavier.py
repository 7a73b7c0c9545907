"""A bundle's manifest, as if its weights had another size."""

import msgspec

from compactor_runtimes.bundle.open import Bundle


def heavier(bundle, size_bytes):
    main = bundle.manifest.main
    files = [msgspec.structs.replace(main.artifacts[0].files[0], bytes=size_bytes)]
    main = msgspec.structs.replace(
        main, artifacts=[msgspec.structs.replace(main.artifacts[0], files=files), *main.artifacts[1:]]
    )
    return Bundle(bundle.path, msgspec.structs.replace(bundle.manifest, components={"main": main}))
