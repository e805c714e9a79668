package ai.lram.dataset.store;

import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.TestEpisodes;
import java.nio.file.Path;

/** A process that appends to a store without end; made to be killed. */
final class StoreWritingProcess {
    private StoreWritingProcess() {}

    public static void main(String[] arguments) {
        TaskInfo task = TestEpisodes.task("t", 3, 1);
        TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(Path.of(arguments[0]));
        writer.addTask(task);
        while (true) {
            System.out.println("ACK " + writer.append(TestEpisodes.episode(task, 50, writer.episodeCount())));
            System.out.flush();
        }
    }
}
