"""The device's part of a push. Runs there under the system's own python3, sent over ssh; nothing needs to be installed.

Hence nothing but the standard library and openssl. All lies in one folder:

    trusted/*.pem           whose signatures count
    blobs/<sha256>          contents of bundles, complete by name
    environments/<key>/     a virtual environment for each set of wheels; complete once it holds the file `complete`
    releases/<id>/          what was signed (release.json), model.tflite, how to run it, and a link to its environment;
                            complete by name
    current, previous       links to releases: which one runs is decided by one rename

A process or machine that dies anywhere leaves the running release as it was; what it leaves half done is swept away by
the next push. One that loses its pusher ends what it is at: a switch ends with a release that does well.
"""
