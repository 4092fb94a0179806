"""JavaScript with which the tests look into a page, and a page of an attacker."""

from __future__ import annotations

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", event => window.violations.push(event.violatedDirective));
"""

FOREIGN = (
    "script, img, image, svg, math, iframe, object, embed, style, video, audio, base, template, dialog, marquee, "
    "link:not([href$='/static/review.css']), meta[http-equiv], [style], a[href^='javascript'], a[href^='data']"
)
"""What none of the pages has."""

HANDLERS = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))"

ATTACK = """<!doctype html><title>kittens</title>
<iframe src="{target}/" name="framed"></iframe>
<form id="f" method="post" action="{target}/items/item-1/approve" {extra}>
<input name="version" value="1"><input name="content" value="{content}">
<input name="approve_token" value="{token}"></form>
<script>{act}</script>"""

CONTRAST = r"""() => {
  // Contrast of every visible text with what is behind it (WCAG 2.2, success criterion 1.4.3).
  const parse = text => text.match(/[\d.]+/g).map(Number);
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = rgb => rgb.slice(0, 3).map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const background = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || !element.checkVisibility()) continue;
    const fore = luminance(parse(getComputedStyle(element).color)), back = luminance(background(element));
    const ratio = (Math.max(fore, back) + 0.05) / (Math.min(fore, back) + 0.05);
    if (ratio < 4.5) poor.push([element.className, text, ratio]);
  }
  return poor;
}"""
