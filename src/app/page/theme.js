// Before the first paint, so that a dark page never flashes white.
try {
  const t = localStorage.getItem('weir.theme');
  if (t === 'light' || t === 'dark') document.documentElement.dataset.theme = t;
} catch { /* storage is off: the system's theme it is */ }
