export interface DiffLine {
  readonly kind: "same" | "added" | "removed" | "gap";
  readonly text: string;
}

const AROUND = 3;
/** A table of so many cells is made to compare what lies between the first and the last difference. */
const MOST_CELLS = 4_000_000;

/** What changed from one list of lines to the other, with some lines around it; undefined where that is too much to find out. */
export function diffOf(before: readonly string[], after: readonly string[]): readonly DiffLine[] | undefined {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let end = 0;
  const most = Math.min(before.length, after.length) - start;
  while (end < most && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  const [old, fresh] = [before.slice(start, before.length - end), after.slice(start, after.length - end)];
  if (old.length * fresh.length > MOST_CELLS) return undefined;
  const same = (lines: readonly string[]): readonly DiffLine[] =>
    lines.map((text) => ({ kind: "same", text }));
  const whole = [
    ...same(before.slice(0, start)),
    ...compared(old, fresh),
    ...same(before.slice(before.length - end)),
  ];
  return around(whole);
}

/** By the longest common subsequence. */
function compared(old: readonly string[], fresh: readonly string[]): readonly DiffLine[] {
  const width = fresh.length + 1;
  const lengths = new Uint32Array((old.length + 1) * width);
  const lengthAt = (i: number, j: number) => lengths[i * width + j] ?? 0;
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = fresh.length - 1; j >= 0; j--)
      lengths[i * width + j] =
        old[i] === fresh[j] ? lengthAt(i + 1, j + 1) + 1 : Math.max(lengthAt(i + 1, j), lengthAt(i, j + 1));
  const lines: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < fresh.length) {
    const [gone, come] = [old[i], fresh[j]];
    if (gone !== undefined && gone === come) {
      lines.push({ kind: "same", text: gone });
      i++;
      j++;
    } else if (gone !== undefined && (come === undefined || lengthAt(i + 1, j) >= lengthAt(i, j + 1))) {
      lines.push({ kind: "removed", text: gone });
      i++;
    } else {
      lines.push({ kind: "added", text: come ?? "" });
      j++;
    }
  }
  return lines;
}

/** Leaves out what is far from a change. */
function around(lines: readonly DiffLine[]): readonly DiffLine[] {
  const near = new Set<number>();
  for (const [i, { kind }] of lines.entries())
    if (kind !== "same") for (let at = i - AROUND; at <= i + AROUND; at++) near.add(at);
  const shown: DiffLine[] = [];
  for (const [i, line] of lines.entries()) {
    if (near.has(i)) shown.push(line);
    else if (near.size > 0 && shown.at(-1)?.kind !== "gap") shown.push({ kind: "gap", text: "" });
  }
  return shown.every(({ kind }) => kind === "gap") ? [] : shown;
}
