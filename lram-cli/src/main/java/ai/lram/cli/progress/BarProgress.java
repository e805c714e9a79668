package ai.lram.cli.progress;

import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;

/** A bar that redraws itself. */
final class BarProgress implements Progress {
    private static final int PARTS = 1000;

    private final ProgressBar bar;

    BarProgress(String job) {
        bar = new ProgressBarBuilder()
                .setTaskName(job)
                .setInitialMax(PARTS)
                .setUnit("%", PARTS / 100)
                .setStyle(ProgressBarStyle.ASCII)
                .setUpdateIntervalMillis(250)
                .build();
    }

    @Override
    public void update(double fraction, String message) {
        bar.setExtraMessage(" " + message);
        bar.stepTo(Math.round(PARTS * Math.clamp(fraction, 0, 1)));
    }

    @Override
    public void close() {
        bar.close();
    }
}
