<?php
// `artisan queue:work` of Laravel with a queue in Redis. With `send`, sends the jobs of standard input.
require __DIR__ . "/job.php";
foreach (["Cache", "Console", "Container", "Events", "Queue", "Redis"] as $part) {
    require_once "Illuminate/$part/autoload.php";
}
use Illuminate\Cache\ArrayStore;
use Illuminate\Cache\Repository;
use Illuminate\Console\Application;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Events\Dispatcher;
use Illuminate\Queue\Capsule\Manager;
use Illuminate\Queue\Console\WorkCommand;
use Illuminate\Queue\Failed\NullFailedJobProvider;
use Illuminate\Queue\Worker;
use Illuminate\Redis\RedisManager;

class Job
{
    public function fire($job, array $data): void
    {
        work(...$data);
        $job->delete();
    }
}

class Container extends Illuminate\Container\Container
{
    public function isDownForMaintenance(): bool
    {
        return false;
    }
}

class Handler implements ExceptionHandler
{
    public function report(Throwable $e)
    {
        fwrite(STDERR, "$e\n");
    }

    public function shouldReport(Throwable $e)
    {
        return true;
    }

    public function render($request, Throwable $e)
    {
    }

    public function renderForConsole($output, Throwable $e)
    {
    }
}

$container = new Container();
$container["events"] = $events = new Dispatcher($container);
$container["redis"] = new RedisManager($container, "phpredis", ["default" => ["url" => getenv("BROKER")]]);
$container["queue.failer"] = new NullFailedJobProvider();
$queue = new Manager($container);
$queue->addConnection(["driver" => "redis", "queue" => "default", "retry_after" => 12]);
if (($argv[1] ?? "") == "send") {
    foreach (json_decode(stream_get_contents(STDIN)) as $job) {
        $queue->getConnection()->push(Job::class, $job);
    }
    exit;
}
$worker = new Worker($queue->getQueueManager(), $events, new Handler(), fn () => false);
$application = new Application($container, $events, "");
$application->add(new WorkCommand($worker, new Repository(new ArrayStore())));
$application->run();
