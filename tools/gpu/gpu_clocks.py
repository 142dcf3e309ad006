"""What clocks a GPU runs at under load. Asked after a run it says what it could; a card at its limit of power runs slower.

    python gpu_clocks.py COMMAND...        runs it, and says so on its last line; the exit status is the command's
"""

import statistics
import subprocess
import sys
import threading

QUERY = "clocks.sm,power.draw.instant,clocks_event_reasons.sw_power_cap"
BUSY = 0.8  # of the largest power seen: what is below is loading, compiling and waiting


class Clocks:
    """Asks nvidia-smi twice a second from here to `summary`."""

    def __init__(self):
        self.samples = []  # (MHz, W, whether the limit of power holds the clocks)
        try:
            command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", "--loop-ms=500"]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:
            self.process = None
            return
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            clock, power, *limit = (part.strip() for part in line.split(","))
            try:
                self.samples.append((float(clock), float(power), limit == ["Active"]))
            except ValueError:  # a driver that does not know
                pass

    def summary(self):
        """Stops asking. One line: the median clock and power of the busy half seconds, and in how many power was the limit."""
        if self.process:
            self.process.kill()
        largest = max((power for _, power, _ in self.samples), default=0)
        busy = [sample for sample in self.samples if sample[1] >= BUSY * largest]
        if not busy:
            return "not known"
        clock, power = statistics.median(s[0] for s in busy), statistics.median(s[1] for s in busy)
        return f"{clock:.0f} MHz at {power:.0f} W, at the limit of power in {100 * sum(s[2] for s in busy) / len(busy):.0f} % of {len(busy)} busy samples"


def main():
    clocks = Clocks()
    status = subprocess.run(sys.argv[1:]).returncode
    print("clocks under load:", clocks.summary(), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
