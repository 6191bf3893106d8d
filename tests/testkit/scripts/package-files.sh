#!/bin/sh
# Lists the files of these Debian packages and of their installed dependencies, relative to /, one per line:
#
#   package-files.sh PACKAGE…
#
# Paths are resolved: dpkg still says /lib/… where /lib is a link to /usr/lib.
set -eu
dpkg-query -W -f '${binary:Package}\t${Provides}\t${Depends}, ${Pre-Depends}\n' | awk -F '\t' -v wanted="$*" '
    function bare(name) { gsub(/\(.*|:.*|[[:space:]]/, "", name); return name }
    function visit(name,   i, n, all) {
        if (!(name in depends)) name = provider[name]
        if (!(name in depends) || name in seen) return
        seen[name]; print package[name]
        n = split(depends[name], all, /[,|]/)
        for (i = 1; i <= n; i++) visit(bare(all[i]))
    }
    { name = bare($1); package[name] = $1; depends[name] = $3
      n = split($2, all, ","); for (i = 1; i <= n; i++) provider[bare(all[i])] = name }
    END { n = split(wanted, all, " "); for (i = 1; i <= n; i++) visit(all[i]) }
' | xargs dpkg -L | grep -E '^/(usr|bin|sbin|lib|lib64)/' | grep -v '^/usr/share/' |
    sed -E 's,^/(bin|sbin|lib|lib64)/,/usr/\1/,; s,^/,,' | sort -u |
    while read -r path; do [ ! -f "/$path" ] || echo "$path"; done
printf '%s\n' bin sbin lib lib64
