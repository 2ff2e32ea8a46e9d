"""Colours and layout of the app: no font, picture or script from anywhere else."""

# Orange for what a concept does, blue for what is against it: told apart by the colour-blind.
ACTIVE, AGAINST, QUIET = "#d55e00", "#0072b2", "#8a8f98"

# In the dark all colours are turned round but their hue; pictures are turned back.
PAGE = """
html { background: #fff; color-scheme: light; }
body { margin: 0; font-family: system-ui, sans-serif; }
@media (prefers-color-scheme: dark) {
  html { filter: invert(0.9) hue-rotate(180deg); background: #fff; }
}
:focus-visible { outline: 3px solid #0072b2; outline-offset: 1px; }
"""

FRAGMENT = """
:host { font-family: system-ui, sans-serif; font-size: 14px; color: #1b1e23; }
h1 { font-size: 20px; margin: 2px 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 10px 0 4px; }
p { margin: 3px 0; } .remark { color: #555c66; font-size: 13px; }
.facts { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 4px 0; }
.facts b { font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 2px 8px 2px 0; border-bottom: 1px solid #e3e6ea;
  vertical-align: top; overflow-wrap: break-word; }
th { font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.scroll { overflow-x: auto; max-height: 420px; overflow-y: auto; }
.bar { position: relative; display: inline-block; width: 96px; height: 18px;
  background: linear-gradient(#c8cdd4, #c8cdd4) center / 1px 100% no-repeat; }
.bar i { position: absolute; top: 2px; bottom: 2px; opacity: 0.45; }
.bar .up { background: #d55e00; } .bar .down { background: #0072b2; }
.bar b { position: relative; font-weight: 400; padding-left: 4px; }
.pictures { display: flex; flex-wrap: wrap; gap: 6px; }
.picture { margin: 0; width: 116px; }
.picture div { position: relative; background: #eceff2; }
.picture img { width: 100%; display: block; }
.picture figcaption { font-size: 12px; color: #555c66; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
.heat { position: absolute; inset: 0; background: #ff8a1f; opacity: 0.85; mask-mode: luminance;
  mask-size: 100% 100%; -webkit-mask-size: 100% 100%; mask-repeat: no-repeat; }
.blank { display: grid; place-items: center; height: 116px; color: #555c66; font-size: 12px; }
.histogram { margin: 4px 0; max-width: 360px; }
.histogram svg { width: 100%; height: 70px; fill: #5b6470; border-bottom: 1px solid #8a8f98; }
.histogram figcaption { display: flex; justify-content: space-between; font-size: 12px;
  color: #555c66; }
.beside { display: flex; flex-wrap: wrap; gap: 0 28px; }
.beside section { flex: 1 1 280px; min-width: 0; }
.warning { border-left: 4px solid #d55e00; padding: 4px 10px; background: #fdf1e8; }
.saved { border-left: 4px solid #0072b2; padding: 4px 10px; background: #e9f3fa; }
@media (prefers-color-scheme: dark) {
  .picture img, .heat { filter: hue-rotate(180deg) invert(1); }
}
"""
