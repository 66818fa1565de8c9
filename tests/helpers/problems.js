// What is wrong with a page, a text each: words that are broken, texts that are cut off or stand out of the page, and
// texts that can hardly be told from what is behind them (WCAG 2.1: 4.5, large ones 3).
() => {
  const found = [];
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) {
    found.push(`the page is ${page.scrollWidth} wide, seen are ${page.clientWidth}`);
  }
  const rgba = text => {
    const scale = text.startsWith('color(') ? 255 : 1;
    const [r, g, b, a = 1] = (text.replace('color(srgb', '').match(/[\d.]+/g) || []).map(Number);
    return [r * scale, g * scale, b * scale, a];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const linear = value => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = colour => {
    const [r, g, b] = colour.map(value => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const above = [];
    for (let e = element; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.backgroundImage !== 'none') return null;
      const colour = rgba(style.backgroundColor);
      if (colour[3]) above.push(colour);
      if (colour[3] === 1) break;
    }
    return above.reduceRight((below, top) => over(top, below), [255, 255, 255]);
  };
  const visible = {opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const text = node.textContent.trim();
    const element = node.parentElement;
    if (!text || !element.checkVisibility(visible)) continue;
    if (['SCRIPT', 'STYLE', 'OPTION', 'TITLE'].includes(element.tagName)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    const short = text.slice(0, 40);
    if (box.width < 2 || box.height < 2) continue;
    for (let e = element; e; e = e.parentElement) {
      const overflow = getComputedStyle(e).overflowX;
      const outer = e.getBoundingClientRect();
      if (outer.width <= 2) break; // for screen readers
      if (['auto', 'scroll'].includes(overflow)) break;
      if (['hidden', 'clip'].includes(overflow) && box.right > outer.right + 1) {
        found.push(`cut off: ${short}`);
        break;
      }
      if (e === document.body && box.right > page.clientWidth + 1) found.push(`out of the page: ${short}`);
    }
    for (const word of node.textContent.matchAll(/[A-Za-z]{4,}/g)) {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const tops = new Set([...range.getClientRects()].map(one => Math.round(one.top)));
      if (tops.size > 1) found.push(`broken: ${word[0]}`);
    }
    const ground = element.closest('svg') ? null : behind(element);
    if (!ground) continue;
    const style = getComputedStyle(element);
    const tones = [light(over(rgba(style.color), ground)), light(ground)].sort((a, b) => b - a);
    const ratio = (tones[0] + 0.05) / (tones[1] + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)}: ${short}`);
  }
  return [...new Set(found)];
}
