package ai.lram.bridge.grpc;

import java.util.List;

/**
 * What a server's model is for.
 *
 * @param name the model's name
 * @param tasks its tasks
 * @param maxMessageBytes longest message the server accepts
 */
public record ModelDescription(String name, List<TaskDescription> tasks, long maxMessageBytes) {
    public ModelDescription {
        tasks = List.copyOf(tasks);
    }

    /** @throws BridgeConfigException if the model has no such task; the message lists those it has */
    public TaskDescription task(String id) {
        return tasks.stream()
                .filter(task -> task.id().equals(id))
                .findFirst()
                .orElseThrow(() -> new BridgeConfigException(
                        "task " + id + " is not known to the server",
                        "its model knows "
                                + tasks.stream().map(TaskDescription::id).toList(),
                        "ask for one of these",
                        null));
    }
}
