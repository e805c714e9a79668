package ai.lram.agent.engine;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.testing.Cards;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Takes a stated time for a step by a clock of its own, notes what it is asked and fails where it is told to. */
final class ScriptedPolicy implements Policy {
    private static final ModelCard CARD = Cards.model(Cards.continuous("a", 2, 1), Cards.continuous("b", 1, 1));

    /** Time that several of them share. */
    static final class Clock {
        private long ns;

        long now() {
            return ns;
        }
    }

    final List<String> asked = new ArrayList<>();
    private final Clock clock;
    private final long rowNs;
    String failing = "";
    boolean finite = true;
    int steps;

    /** @param rowNs a step takes so much for each row */
    ScriptedPolicy(Clock clock, long rowNs) {
        this.clock = clock;
        this.rowNs = rowNs;
    }

    private void note(String what) {
        if (asked.isEmpty() || !asked.getLast().equals(what)) {
            asked.add(what);
        }
        if (what.equals(failing)) {
            throw new IllegalStateException("cannot do: " + what);
        }
    }

    boolean closed() {
        return asked.contains("close");
    }

    @Override
    public ModelCard card() {
        return CARD;
    }

    @Override
    public int slots() {
        return 5;
    }

    @Override
    public int maxBatch() {
        return 3;
    }

    @Override
    public void reset(int slot, TaskCard task) {
        if (CARD.tasks().get(slot % 2) != task) {
            throw new AssertionError("slot " + slot + " is bound to " + task.id());
        }
    }

    @Override
    public void step(PolicyBatch batch) {
        steps++;
        clock.ns += batch.count * rowNs;
        Arrays.fill(batch.status, finite ? PolicyBatch.OK : PolicyBatch.NOT_FINITE);
        note("step of " + batch.count);
    }

    @Override
    public void warmUp() {
        note("warm-up");
    }

    @Override
    public long stateBytes() {
        return 0;
    }

    @Override
    public void saveState(int slot, MemorySegment target) {
        note("save");
    }

    @Override
    public void restoreState(int slot, MemorySegment source) {
        note("restore");
    }

    @Override
    public void close() {
        note("close");
    }
}
