pattern P : (a:byte#(b*
filter f x:P with [a.b=80~2|!9, => 