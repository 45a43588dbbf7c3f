import { expect, test } from "vitest";
import { caseTable } from "../../../proxy/admin/console/pages/cases.ts";
import { barChart } from "../../../proxy/admin/console/pages/charts.ts";
import type { Case } from "../../../proxy/cases/cases.ts";
import { amountText, bytesText } from "../../../proxy/policy/units.ts";
import { words } from "./browsing.ts";

const NOW = Date.UTC(2026, 4, 6, 12);

test("a case is listed with its most severe alert, whichever came first", () => {
  const alert = (rule: string, severity: "low" | "high") =>
    ({
      kind: "alert",
      ...{ id: rule, time: NOW, about: "anna", database: "support" },
      ...{ rule, severity, text: `${rule} was seen` },
    }) as const;
  const one: Case = {
    ...{ id: "budget", about: "anna", openedAt: NOW, history: [], owner: undefined, answeredAt: undefined },
    ...{ closedAt: undefined, outcome: undefined },
    alerts: [alert("budget", "low"), alert("dump", "high"), alert("sequence", "high")],
  };
  expect(words(caseTable("Cases", [one], NOW).text)).toMatch(/ 3 ✕ high dump: dump was seen /);
});

test("a chart has a drawing for phones, whose letters are as large there and whose labels have room", () => {
  const bars = Array.from({ length: 30 }, (_, i) => ({
    ...{ label: `day ${i}`, value: i },
    ...(i % 5 === 0 && { tick: `d${i}` }),
  }));
  const { text } = barChart("People", "days", bars, []);
  const [, desk = "", phone = ""] = text.split("<svg ");
  expect([desk, phone].map((drawing) => /viewBox="0 0 (\d+) /.exec(drawing)?.[1])).toEqual(["900", "360"]);
  expect([desk, phone].map((drawing) => drawing.match(/>d\d+</g)?.length)).toEqual([6, 3]);
});

test("bytes are read in the policy's units", () => {
  expect(
    [1, 583, 1_321, 256 * 1_024, 2 * 1_024 ** 2, 12.5 * 1_024 ** 2, 3 * 1_024 ** 4].map(bytesText),
  ).toEqual([...["1 byte", "583 bytes", "1.29 kB", "256 kB", "2 MB", "12.5 MB", "3070 GB"]]);
  expect([amountText(3_000, "people"), amountText(1_024, "bytes")]).toEqual(["3,000 people", "1 kB"]);
});
