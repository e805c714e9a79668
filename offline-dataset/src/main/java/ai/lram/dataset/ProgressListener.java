package ai.lram.dataset;

/** Hears how far a long job is. Called on the thread that runs the job; throwing stops the job, nothing is published. */
@FunctionalInterface
public interface ProgressListener {
    /** A listener that does nothing. */
    ProgressListener NONE = (rowsDone, rowsTotal) -> {};

    /**
     * @param rowsDone rows finished so far
     * @param rowsTotal all rows, -1 if unknown
     */
    void onProgress(long rowsDone, long rowsTotal);
}
