import { expect, test } from "vitest";
import { settingsDocument, settingsHelp } from "../../proxy/commands/settings-help.ts";
import { COMMANDS, usage } from "../../proxy/main.ts";
import { allForms } from "../../proxy/settings/table.ts";

test("docs/settings.md says what the table of settings says", async () => {
  await expect(settingsDocument()).toMatchFileSnapshot("../../docs/settings.md");
});

test("the help of serve names every flag, and fits a terminal of 120 columns", () => {
  const help = settingsHelp();
  for (const { flag } of allForms()) if (flag) expect(help).toContain(`--${flag}`);
  for (const line of help.split("\n")) expect(line.length).toBeLessThanOrEqual(120);
});

test("every command that the help lists can be loaded", async () => {
  for (const { name, load } of COMMANDS) {
    expect(usage()).toContain(`  ${name} `);
    expect(typeof (await load()), name).toBe("function");
  }
});
