package ai.lram.dataset.convert;

import java.util.List;

/**
 * What an import did.
 *
 * @param episodes episodes in the store
 * @param rows rows in the store
 * @param taskIds tasks in the store
 * @param warnings what the readers left out or found odd, each beginning with its source
 */
public record ImportReport(int episodes, long rows, List<String> taskIds, List<String> warnings) {
    public ImportReport {
        taskIds = List.copyOf(taskIds);
        warnings = List.copyOf(warnings);
    }
}
