"""The Caddyfile that serves a static site: a pure function.

https://caddyserver.com/docs/caddyfile
"""

from __future__ import annotations

PATH = ".zeitwork/Caddyfile"
COMMAND = f"caddy run --config {PATH} --adapter caddyfile"
# Beside each file stands one with its entity tag. Caddy would make the tag from the time of the
# last change, and artifacts carry none, lest the same files give another artifact.
ETAG_SUFFIX = ".zeitwork-etag"

_TEMPLATE = """\
{
	admin off
	auto_https off
	persist_config off
	grace_period 5s
	log {
		level ERROR
	}
}

(files) {
	hide {args[:]} Procfile *%(etag)s
	etag_file_extensions %(etag)s
}

http://:{$PORT} {
	bind {$HOST:127.0.0.1}
	root * %(root)s
	encode zstd gzip
	header X-Content-Type-Options nosniff

	# Names that hold a hash of their content never change their content.
	@hashed path_regexp (^/(_astro|_next/static|_app/immutable)/|[.-][0-9a-f]{8,64}\\.[a-z0-9]+$)
	@fresh not path_regexp (^/(_astro|_next/static|_app/immutable)/|[.-][0-9a-f]{8,64}\\.[a-z0-9]+$)
	header @hashed Cache-Control "public, max-age=31536000, immutable"
	header @fresh Cache-Control "public, max-age=0, must-revalidate"

	handle /.well-known/* {
		file_server {
			import files .git .zeitwork
		}
	}
	handle {
%(fallback)s		file_server {
			import files .*
		}
	}

	handle_errors {
		header Cache-Control "no-cache"
		@page file /{err.status_code}.html
		handle @page {
			rewrite {file_match.relative}
			file_server {
				import files .*
			}
		}
		# Caddy would put a bare `respond` before every file_server.
		handle {
			respond "{err.status_code} {err.status_text}"
		}
	}
}
"""


def caddyfile(root: str, *, fallback: str | None = None) -> str:
    """Serve `root` (relative to the application's directory) on 127.0.0.1:$PORT.

    Args:
        fallback: the page for addresses that no file has, for sites drawn in the browser; None
            answers 404, with /404.html when the site has one.
    """
    rule = f"\t\ttry_files {{path}} {{path}}/ {fallback}\n" if fallback else ""
    return _TEMPLATE % {"root": root or ".", "etag": ETAG_SUFFIX, "fallback": rule}
