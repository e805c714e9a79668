package ai.lram.agent.card;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * What a trained model is for: its tasks, and where it came from. Lies as {@code card.json} beside the weights.
 *
 * @param formatVersion version of this format, see {@link #FORMAT_VERSION}
 * @param name human name of the model
 * @param tasks every task the model was trained for
 * @param provenance free key-value notes: data set hashes, commit, command line
 */
public record ModelCard(int formatVersion, String name, List<TaskCard> tasks, Map<String, String> provenance) {
    public static final int FORMAT_VERSION = 1;

    public ModelCard {
        tasks = List.copyOf(tasks);
        provenance = Map.copyOf(provenance);
        if (formatVersion != FORMAT_VERSION) {
            throw new CardException(
                    "model card of an unknown version",
                    "version " + formatVersion + ", this build reads " + FORMAT_VERSION,
                    "export the model again with this build");
        }
        if (tasks.isEmpty()) {
            throw new CardException("model card without tasks", "the list is empty", "train on at least one task");
        }
        Set<String> ids = new HashSet<>();
        for (TaskCard t : tasks) {
            if (!ids.add(t.id())) {
                throw new CardException("model card names a task twice", t.id(), "use unique task ids");
            }
        }
    }

    /** @throws CardException if the model has no such task; the message lists those it has */
    public TaskCard task(String id) {
        for (TaskCard t : tasks) {
            if (t.id().equals(id)) {
                return t;
            }
        }
        throw new CardException(
                "unknown task " + id,
                "this model knows " + tasks.stream().map(TaskCard::id).toList(),
                "ask for one of these");
    }
}
