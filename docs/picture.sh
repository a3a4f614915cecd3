#!/usr/bin/env bash
# Draws docs/observer.svg and docs/observer-defended.svg anew: the packet timelines of a demo's web page, without a defense
# and with one, as pictures that stand alone.
# usage: docs/picture.sh [MAYBETUN]     the program; target/release/maybetun if none is named
# The numbers of the same run go to standard output, as one JSON object.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/.."
maybetun=${1:-target/release/maybetun}
page=$(mktemp)
trap 'rm -f "$page"' EXIT
"$maybetun" demo --json --html "$page"

# Writes the demo page's plot number $1, under the title $2.
picture() {
    sed -e "s|TITLE|$2|" <<'END'
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 392" font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif">
<title>TITLE</title>
<style>
svg { --card: #ffffff; --ink: #1c2126; --soft: #626b74; --rule: #e4e5e0; --axis: #8a929a; --up: #c8551b; --down: #2368ad; --key: #8338b0; }
@media (prefers-color-scheme: dark) {
  svg { --card: #181d23; --ink: #e7eaed; --soft: #98a2ac; --rule: #2a3139; --axis: #6c7680; --up: #ff9a5c; --down: #69b1f6; --key: #cf94f5; }
}
text { fill: var(--soft); font-size: 12px; }
.title { fill: var(--ink); font-size: 17px; font-weight: 650; } .caption { font-size: 14px; }
.card { fill: var(--card); stroke: var(--rule); }
.row { text-anchor: end; } .column, .unit { text-anchor: middle; }
.grid { stroke: var(--rule); } .axis { stroke: var(--axis); }
.stroke { fill: none; stroke-width: 1.3; stroke-opacity: .72; }
.stroke.up { stroke: var(--up); } .stroke.down { stroke: var(--down); }
.stroke.key { stroke: var(--key); stroke-width: 2.4; stroke-opacity: 1; }
.chip.up { fill: var(--up); } .chip.down { fill: var(--down); } .chip.key { fill: var(--key); }
</style>
<rect class="card" x=".5" y=".5" width="999" height="391" rx="12"/>
<text class="title" x="24" y="38">TITLE</text>
<text class="caption" x="24" y="61">Each stroke is one packet, as long as the packet is large. Upload is above the axis, download below.</text>
<rect class="chip up" x="716" y="28" width="10" height="10" rx="3"/><text x="732" y="38">upload</text>
<rect class="chip down" x="798" y="28" width="10" height="10" rx="3"/><text x="814" y="38">download</text>
<rect class="chip key" x="892" y="28" width="10" height="10" rx="3"/><text x="908" y="38">handshake</text>
END
    # The plot's own frame becomes a part of this picture.
    grep -o '<svg [^>]*>.*</svg>' "$page" | sed -n "$1p" |
        sed -e 's|<svg |<svg x="20" y="78" width="960" height="300" |' -e 's|><|>\n<|g'
    echo '</svg>'
}

# The timelines come first.
picture 1 "One page load through WireGuard, seen from the wire" >docs/observer.svg
picture 2 "The same page load with a defense at both ends" >docs/observer-defended.svg
