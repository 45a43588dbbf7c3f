/** `*` stands for any text, `?` for one character. Linear but for one step back: names come from outside. */
export function matches(pattern: string, user: string): boolean {
  let p = 0;
  let star = -1;
  let retry = 0;
  for (let u = 0; u < user.length; ) {
    if (pattern[p] === "*") {
      star = p++;
      retry = u;
    } else if (p < pattern.length && (pattern[p] === "?" || pattern[p] === user[u])) {
      p++;
      u++;
    } else if (star >= 0) {
      p = star + 1;
      u = ++retry;
    } else return false;
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}
