/** Waits for the signals that ask a program to end. */
export interface Signal {
  readonly received: Promise<"signal">;
  forget(): void;
}

/** The first SIGINT or SIGTERM resolves; a second one while things are being closed ends the process at once. */
export function untilSignal(): Signal {
  let told: () => void = () => {};
  const received = new Promise<"signal">((resolve) => {
    told = () => resolve("signal");
  });
  let signals = 0;
  const listener = () => {
    signals += 1;
    // 128 + SIGINT, as a shell has it.
    if (signals > 1) process.exit(130);
    told();
  };
  process.on("SIGINT", listener).on("SIGTERM", listener);
  return {
    received,
    forget: () => {
      process.off("SIGINT", listener).off("SIGTERM", listener);
    },
  };
}
